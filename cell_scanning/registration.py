"""Registration lives in cell_core, where inspection can reach it too; scanning offers it under its own name."""

from cell_core.registration import Registration, align, register, without_table

__all__ = ["Registration", "align", "register", "without_table"]

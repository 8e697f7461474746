"""`cell inspect`: the defects of a scan, by itself or against a reference."""

import argparse

from rich.console import Console

from cell_core.errors import ConfigurationError
from cell_inspection.defect_evidence import DefectSettings
from cell_inspection.offline import inspect_alone, inspect_surfaces
from cell_operator.defect_figures import defect_figure, print_defects
from cell_operator.files import new_folder, read_surface
from cell_operator.overlay import overlay_figure
from cell_operator.progress import StepProgress, print_figures


def run_inspect(args: argparse.Namespace, console: Console) -> int:
    """Read the surfaces, find the defects, write files and pictures, print figures and the list."""
    out = new_folder(args.out)
    if (args.file is None) == (args.scan is None):
        given = "neither" if args.file is None else "both"
        raise ConfigurationError(f"inspect: a scan is wanted, as SCAN or as --scan; {given} given")
    path, reference_path = args.file or args.scan, args.cad or args.reference
    if reference_path is None and args.register:
        raise ConfigurationError("--register: needs a --reference to find the scan's place on")
    settings = DefectSettings(smallest_m=args.smallest_m, tallest_m=args.tallest_m)
    scan = read_surface(path, args.unit)
    if reference_path is None:
        with StepProgress(console, "inspect") as progress:
            progress(0.1, "fitting surroundings")
            found = inspect_alone(scan, out, settings)
        title = f"{path.name} by its own surroundings"
        defect_figure(found, found.deviation_m, out / "inspection.png", title, faint=args.all)
        print_figures(console, title, found.figures)
    else:
        reference = read_surface(reference_path, args.reference_unit)
        register = args.register or args.cad is not None
        with StepProgress(console, "inspect") as progress:
            progress(0.1, "registering" if register else "comparing")
            result = inspect_surfaces(
                scan,
                reference,
                out,
                register=register,
                uncertainty_max_m=args.uncertainty_max_m,
                defects=settings,
            )
        assert result.found is not None
        found = result.found
        title = f"{path.name} against {reference_path.name}"
        defect_figure(found, result.deviation_m, out / "inspection.png", title, faint=args.all)
        if register:
            overlay_figure(result.surface, reference, out / "overlay.png")
        print_figures(console, f"deviation of {path.name} from {reference_path.name}", result.figures)
    print_defects(console, found, faint=args.all)
    console.print(f"written to {out}")
    return 0

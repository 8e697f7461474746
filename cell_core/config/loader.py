"""Read a YAML file into a frozen pydantic model; every fault is one line with file, line, key, value and bound."""

import difflib
import os
import sys
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from cell_core.bounded import YAML_MAX_BYTES, read_text, refuse_growth
from cell_core.config.grind_tools import GrindToolConfig
from cell_core.config.guns import GunConfig
from cell_core.config.recipes import GrindRecipe, SprayRecipe
from cell_core.errors import ConfigurationError, InputRefusedError

Model = TypeVar("Model", bound=pydantic.BaseModel)

_UNITS = (
    "_m",
    "_mm",
    "_um",
    "_rad",
    "_deg",
    "_s",
    "_ms",
    "_n",
    "_m_per_s",
    "_mm_per_s",
    "_m3_per_s",
    "_fraction",
    "_percent",
    "_pa",
)


def config_root() -> Path:
    """Return the folder that holds robots/, cells/, guns/, tools/, cameras/ and recipes/.

    CELL_CONFIG_ROOT overrides; then the source tree, the ROS package share, the Python installation's share.
    """
    override = os.environ.get("CELL_CONFIG_ROOT")
    if override:
        return Path(override)
    source = Path(__file__).resolve().parents[2] / "config"
    if source.is_dir():
        return source
    for prefix in [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]:
        share = Path(prefix) / "share" / "grind_spray_cell" / "config"
        if share.is_dir():
            return share
    raise ConfigurationError("config folder not found: set CELL_CONFIG_ROOT to the folder holding recipes/ and cells/")


def load_named(model: type[Model], kind: str, name: str, beside: Path | None = None) -> Model:
    """Load `name` as a file path (also relative to `beside`), or as config_root()/kind/name.yaml."""
    return load_config(model, find_config(kind, name, beside))


def load_recipe(name: str, beside: Path | None = None) -> SprayRecipe | GrindRecipe:
    """Load a recipe by name or path, with all its layers; its `process` key picks the model."""
    path = find_config("recipes", name, beside)
    process = _read(path)[0].get("process")
    if process not in ("spray", "grind"):
        raise ConfigurationError(f"{path}: process: value {process!r}: must be 'spray' or 'grind'")
    return load_config(SprayRecipe if process == "spray" else GrindRecipe, path)


def load_one_layer(name: str, layer: str | None, beside: Path | None = None) -> SprayRecipe | GrindRecipe:
    """Load a recipe as one job runs it: `layer` says which, where it has layers.

    Raises:
        ConfigurationError: it has layers and none or an unknown one is named, or none and one is named.
    """
    recipe = load_recipe(name, beside)
    layers = recipe.layers if isinstance(recipe, SprayRecipe) else ()
    if layer is None and not layers:
        return recipe
    if not isinstance(recipe, SprayRecipe):
        raise ConfigurationError(f"recipe {recipe.name}: layer {layer!r} named, but a {recipe.process} recipe has none")
    if layer is None:
        known = ", ".join(one.name for one in layers)
        raise ConfigurationError(
            f"recipe {recipe.name}: has {len(layers)} layers, and a job runs one of them: name {known}"
        )
    return recipe.layer(layer)


def load_recipe_tool(recipe: SprayRecipe | GrindRecipe, beside: Path | None = None) -> GunConfig | GrindToolConfig:
    """Load the gun or grinding tool that a recipe names.

    Raises:
        ConfigurationError: the recipe leaves the tool to the planner.
    """
    if isinstance(recipe, SprayRecipe):
        return load_named(GunConfig, "guns", recipe.gun, beside)
    if recipe.tool == "auto":
        raise ConfigurationError(
            f"recipe {recipe.name}: tool auto is chosen by planning (cell plan grind); what runs on the arm names its "
            f"tool: one of {', '.join(recipe.tools)}"
        )
    return load_named(GrindToolConfig, "tools", recipe.tool, beside)


def load_grind_tools(recipe: GrindRecipe, beside: Path | None = None) -> tuple[GrindToolConfig, ...]:
    """Load the tools a recipe leaves to choose from, or the one it names."""
    names = recipe.tools if recipe.tool == "auto" else (recipe.tool,)
    return tuple(load_named(GrindToolConfig, "tools", name, beside) for name in names)


def find_config(kind: str, name: str, beside: Path | None = None) -> Path:
    """Return the file that `name` means: a path (also relative to `beside`), or config_root()/kind/name.yaml."""
    candidates = [Path(name)]
    if beside is not None:
        candidates.append(Path(beside).parent / name)
    candidates.append(config_root() / kind / f"{name}.yaml")
    for path in candidates:
        if path.is_file():
            return path
    known = sorted(p.stem for p in (config_root() / kind).glob("*.yaml"))
    raise ConfigurationError(f"{kind}: no file or entry {name!r}; known: {', '.join(known)}")


def load_config(model: type[Model], path: Path) -> Model:
    """Load and validate one YAML file.

    Raises:
        ConfigurationError: missing, not YAML, unknown key, wrong type or out of bounds; the message names
            file, line, key, value and bound.
    """
    path = Path(path)
    data, node = _read(path)
    chosen: type[Any] = model
    try:
        if issubclass(model, GunConfig | GrindToolConfig):
            chosen = model.of_kind(data)
        return chosen.model_validate(data)
    except pydantic.ValidationError as error:
        raise ConfigurationError("; ".join(_explain(e, node, path, chosen) for e in error.errors()[:5])) from error


def _read(path: Path) -> tuple[dict[str, Any], yaml.Node | None]:
    try:
        text = read_text(path, YAML_MAX_BYTES)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        refuse_growth(node, path)
        _refuse_duplicates(node, path)
        data = yaml.safe_load(text)
    except InputRefusedError as error:
        raise ConfigurationError(str(error)) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigurationError(f"{path}:{line}: not YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(f"{path}: not YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigurationError(f"{path}:1: holds a {type(data).__name__}, wanted keys and values")
    return _tuples(data), node


def _tuples(value: Any) -> Any:
    # strict models hold tuples; YAML knows only lists
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _refuse_duplicates(node: yaml.Node | None, path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise ConfigurationError(f"{path}:{key.start_mark.line + 1}: key {key.value!r} stands twice")
            seen.add(key.value)
            _refuse_duplicates(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_duplicates(value, path)


def _line(node: yaml.Node | None, loc: tuple[Any, ...]) -> int:
    line = 1
    for step in loc:
        found = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(step):
                    line, found = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            found = node.value[step]
            line = found.start_mark.line + 1
        if found is not None:
            node = found
    return line


def _explain(error: Any, node: yaml.Node | None, path: Path, model: type[pydantic.BaseModel]) -> str:
    loc = error["loc"]
    where = f"{path}:{_line(node, loc)}"
    key = ".".join(str(s) for s in loc) or "file"
    if error["type"] == "extra_forbidden":
        hint = _nearest(str(loc[-1]), model)
        return f"{where}: unknown key {key!r} (value {error['input']!r}){hint}"
    if error["type"] == "missing":
        return f"{where}: key {key!r} is missing"
    what = error["msg"].removeprefix("Value error, ")
    if isinstance(error["input"], dict | tuple):  # the message names the numbers that matter
        return f"{where}: {key}: {what}"
    return f"{where}: {key}: value {error['input']!r}: {what[0].lower()}{what[1:]}"


def _nearest(key: str, model: type[pydantic.BaseModel]) -> str:
    names: set[str] = set()
    stack: list[Any] = [model]
    while stack:
        m = stack.pop()
        if isinstance(m, type) and issubclass(m, pydantic.BaseModel):
            for name, info in m.model_fields.items():
                if name not in names:
                    names.add(name)
                    stack.append(info.annotation)
        else:
            stack.extend(getattr(m, "__args__", ()))
    stem = key
    for unit in sorted(_UNITS, key=len, reverse=True):
        if key.endswith(unit):
            stem = key[: -len(unit)]
            break
    same_stem = [n for n in names if n != key and n.startswith(stem + "_") and n[len(stem) :] in _UNITS]
    if same_stem:
        return f"; unit suffix differs: wanted {same_stem[0]!r}"
    close = difflib.get_close_matches(key, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""

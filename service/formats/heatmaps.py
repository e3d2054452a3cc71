"""Heat maps of pictures in a folder, each by its picture's path in the other one."""

from pathlib import Path

from kilter.service.detector.errors import KilterError


def check_heatmaps(folder: Path, path: Path, *, force: bool) -> None:
    """Raise KilterError if heat maps must not be written there."""
    if folder.exists() and not folder.is_dir():
        raise KilterError(f"{folder} is a file: name a folder for the heat maps")
    if path.is_dir() and folder.resolve().is_relative_to(path.resolve()):
        raise KilterError(f"{folder} lies in {path}, whose pictures are read: name another folder for the heat maps")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise KilterError(f"{folder} holds files already: choose another folder, or write to it with --force")


def map_name(picture: str, drawn: set[str]) -> str:
    """The path of a picture's heat map, which joins those that are drawn: it is no other picture's."""
    name = picture if picture.lower().endswith(".png") and picture not in drawn else f"{picture}.png"
    drawn.add(name)
    return name


def write_heatmap(folder: Path, name: str, content: bytes) -> None:
    """Write a heat map by its path, never outside of the folder."""
    target = folder / name
    try:
        if not target.resolve().is_relative_to(folder.resolve()):
            raise KilterError(f"{target} leads out of {folder}, by a link: name another folder for the heat maps")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    except OSError as error:
        raise KilterError(f"cannot write {target}: {error.strerror}") from None

"""Pictures that are written into a folder, each by a path of its own and never outside of it."""

from pathlib import Path

from kilter.service.detector.errors import KilterError


def check_folder(folder: Path, source: Path, what: str, *, force: bool) -> None:
    """Raise KilterError if pictures, `what` they are, must not be written to a folder, or are made of those in it."""
    if folder.exists() and not folder.is_dir():
        raise KilterError(f"{folder} is a file: name a folder for the {what}")
    if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise KilterError(f"{folder} lies in {source}, whose pictures are read: name another folder for the {what}")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise KilterError(f"{folder} holds files already: choose another folder, or write to it with --force")


def png_name(picture: str, written: set[str]) -> str:
    """The path of the PNG that is made of a picture, which joins those that are `written`: it is no other picture's."""
    name = picture if picture.lower().endswith(".png") else f"{picture}.png"
    while name in written:
        name += ".png"
    written.add(name)
    return name


def write_png(folder: Path, name: str, content: bytes, what: str) -> None:
    """Write a picture by its path in a folder; `what` is what those are that are written there. Raises KilterError."""
    target = folder / name
    try:
        if not target.resolve().is_relative_to(folder.resolve()):
            raise KilterError(f"{target} leads out of {folder}, by a link: name another folder for the {what}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    except OSError as error:
        raise KilterError(f"cannot write {target}: {error.strerror}") from None

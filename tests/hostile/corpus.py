"""Every hostile file by name: how it is made, and what its refusal says (a regular expression)."""

from pathlib import Path

from tests.hostile import other_files, paddle_files, torch_files

CORPUS = {
    **torch_files.ZIP_FILES,
    **torch_files.LEGACY_FILES,
    **paddle_files.FILES,
    **other_files.SAFETENSORS_FILES,
    **other_files.INDEX_FILES,
}


def plant(name: str, folder: Path) -> Path:
    """Make the hostile file of that name in a folder of its own."""
    path = folder / name.replace(".", "-") / name
    path.parent.mkdir(parents=True)
    content = CORPUS[name][0]
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)
    return path

"""Files in pieces under 16 MiB, and together again: whole or not there.

A part of `train_small_on_gpu.py`; no torch in it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

PIECE_BYTES = 15 * 2**20
LIST = "SHA256SUMS"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def put(path: Path, data: bytes) -> None:
    """Write beside the name, then rename: a kill leaves no half file."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def split_file(path: Path, folder: Path, wanted: slice, first: int = 0) -> list[tuple[str, str]]:
    """Write the pieces of a file, and tell the hashes of all of them and of the file.

    Args:
        path: what is split.
        folder: where pieces go: `NAME.000`, `NAME.001`, …
        wanted: which pieces of the set are written; the others are only hashed.
        first: number in the set of the first piece of this file.

    Returns:
        Hash and name, of each piece and last of the whole file.
    """
    rows: list[tuple[str, str]] = []
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(PIECE_BYTES):
            whole.update(data)
            name = f"{path.name}.{len(rows):03d}"
            if first + len(rows) in range(10**6)[wanted]:
                put(folder / name, data)
            rows.append((hashlib.sha256(data).hexdigest(), name))
    return [*rows, (whole.hexdigest(), path.name)]


def write_pieces(paths: Sequence[Path], folder: Path, wanted: slice = slice(None)) -> int:
    """Write files as a set of pieces; the list comes last, and makes the set whole.

    Returns:
        Number of pieces in the set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, str]] = []
    count = 0
    for path in paths:
        added = split_file(path, folder, wanted, count)
        count += len(added) - 1
        rows += added
    put(folder / LIST, "".join(f"{digest}  {name}\n" for digest, name in rows).encode())
    return count


def join_pieces(folders: Sequence[Path], out: Path) -> list[Path]:
    """Put a set of pieces together again, after every hash was checked.

    Args:
        folders: where its pieces lie; they may have come in several parts.
        out: where the files go.

    Raises:
        InputError: A piece is missing or damaged, or there is no list.
    """
    from relive.errors import InputError

    lists = [folder / LIST for folder in folders if (folder / LIST).exists()]
    if not lists:
        raise InputError(f"{folders[0]} has no {LIST}; is it a folder of pieces?")
    rows = [line.split("  ", 1) for line in lists[0].read_text().splitlines()]
    pieces: list[Path] = []
    joined: list[Path] = []
    out.mkdir(parents=True, exist_ok=True)
    for digest, name in rows:
        if name.rpartition(".")[2].isdigit():
            found = next((f / name for f in folders if (f / name).exists()), None)
            if found is None:
                raise InputError(f"piece {name} is missing in {', '.join(map(str, folders))}")
            if _sha256(found) != digest:
                raise InputError(f"piece {found} is damaged: it does not have the hash of {LIST}")
            pieces.append(found)
        else:
            joined.append(_join(pieces, out / name, digest))
            pieces = []
    if pieces or not joined:
        raise InputError(f"{lists[0]} is cut; copy it again")
    return joined


def _join(pieces: Sequence[Path], path: Path, digest: str) -> Path:
    from relive.errors import InputError

    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        for piece in pieces:
            file.write(piece.read_bytes())
    if _sha256(part) != digest:
        part.unlink()
        raise InputError(f"{path.name} is not what its pieces were made of; copy {LIST} again")
    part.replace(path)
    return path


def find_sets(folders: Iterable[Path]) -> list[Path]:
    """Folders of the newest set of checkpoint pieces, which may be spread over several."""
    found = [path for folder in folders for path in [folder, *folder.rglob("checkpoint-*")]]
    named = [path for path in found if path.name.startswith("checkpoint-") and path.is_dir()]
    whole = [path.name for path in named if (path / LIST).exists()]
    return [path for path in named if path.name == max(whole, default=None)]

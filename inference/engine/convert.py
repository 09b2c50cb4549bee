"""GGUF to a safetensors folder: `python -m inference.engine.convert --gguf FILE --out DIR`.

Quantized weights are dequantized and stored as float16. A GGUF block is a half-precision scale (and
minimum) times a small integer, so float16's 11 bits of mantissa keep each value to 0.05%, far below
the step of the quantization itself, where bfloat16's 8 bits would not; and float32 would double the
file without adding information. A file of mostly float32 or bfloat16 keeps its type.

The folder appears whole or not at all: everything is written into a sibling that is renamed at the
end. `manifest.json` holds the SHA-256 of the source and of every file. Progress goes to stdout as
JSON lines `{"stage": ..., "fraction": ...}`; an error is one line on stderr. Exit status: 0 done,
1 the conversion failed, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from inference.engine.gguf_rope import repair_rope
from inference.engine.gguf_tokenizer import repair_pre_tokenizer
from inference.gguf_files import read_gguf_files
from inference.model_files import ModelFilesError, read_model_files

MANIFEST_NAME = "manifest.json"
_BLOCK = 8 * 1024 * 1024
_STALE_SECONDS = 3600.0
_PARTIAL_SUFFIX = ".partial"

Progress = Callable[[str, float], None]


class ConvertError(Exception):
    """The file cannot be converted. The message is one line that names the file and the reason."""


def convert_gguf(gguf: Path, out: Path, progress: Progress) -> None:
    """Write the model in `gguf` to the new folder `out`. Raises ConvertError, OSError."""
    _check_source(gguf)
    if out.exists():
        raise ConvertError(f"{out}: exists already")
    source_sha256 = hash_file(gguf, lambda fraction: progress("hash", fraction))
    with _partial_folder(out) as folder:
        _write_weights(gguf, folder, progress)
        _write_tokenizer(gguf, folder)
        _repair(gguf, folder)
        for file in folder.iterdir():
            file.chmod(0o644)
        folder.chmod(0o755)
        read_model_files(folder)
        _write_manifest(folder, gguf, source_sha256, progress)
        folder.rename(out)
    progress("done", 1.0)


def hash_file(file: Path, report: Callable[[float], None] | None = None) -> str:
    """SHA-256 of a file as hex digits; `report` gets the fraction read after each block."""
    digest = hashlib.sha256()
    size = max(1, file.stat().st_size)
    done = 0
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            done += len(block)
            if report is not None:
                report(done / size)
    return digest.hexdigest()


def _check_source(gguf: Path) -> None:
    try:
        read_gguf_files(gguf)
    except ModelFilesError as error:
        raise ConvertError(str(error)) from error


def _stored_type(gguf: Path) -> str:
    """The name of torch's type that keeps what most of the file's weights say."""
    kept = {"F32": "float32", "BF16": "bfloat16"}
    return kept.get(read_gguf_files(gguf).stored_dtype, "float16")


@contextlib.contextmanager
def _partial_folder(out: Path) -> Iterator[Path]:
    """A new folder beside `out`, removed unless the caller renamed it. Clears what a kill left."""
    out.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{out.name}."
    for stale in out.parent.glob(f"{prefix}*{_PARTIAL_SUFFIX}"):
        if time.time() - stale.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(stale, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=_PARTIAL_SUFFIX, dir=out.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_weights(gguf: Path, folder: Path, progress: Progress) -> None:
    import torch

    from inference.engine.gguf_weights import is_streamable, stream_weights

    progress("load", 0.0)
    dtype = getattr(torch, _stored_type(gguf))
    try:
        if is_streamable(read_gguf_files(gguf).architecture):
            stream_weights(gguf, folder, dtype, lambda fraction: progress("load", fraction))
        else:
            _save_whole(gguf, folder, dtype)
    except OSError:
        raise
    except Exception as error:
        # Foreign code over a foreign file: any exception means that the file is of no use.
        raise ConvertError(f"{gguf}: cannot be converted: {_one_line(error)}") from error
    progress("load", 1.0)


def _save_whole(gguf: Path, folder: Path, dtype: Any) -> None:
    """Through transformers' loader, which holds the model several times over."""
    import transformers

    # transformers reads a GGUF through the same call as a folder; it never runs code from it.
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=dtype,
        quantization_config=transformers.GgufConfig(dequantize=True),
        trust_remote_code=False,
    )
    for name, parameter in model.named_parameters():
        if not bool(parameter.detach().isfinite().all()):
            raise ConvertError(f"{gguf}: {name} holds values that {dtype} cannot hold")
    model.save_pretrained(folder)


def _write_tokenizer(gguf: Path, folder: Path) -> None:
    import transformers

    try:
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
            gguf.parent, gguf_file=gguf.name, trust_remote_code=False
        )
        tokenizer.save_pretrained(folder)
    except OSError:
        raise
    except Exception as error:
        # As above: foreign code over a foreign file.
        message = f"{gguf}: its tokenizer cannot be read: {_one_line(error)}"
        raise ConvertError(message) from error


def _repair(gguf: Path, folder: Path) -> None:
    """Put right what transformers leaves out; what cannot be put right is told on stderr."""
    for warning in (_repair_tokenizer(gguf, folder), repair_rope(gguf, folder)):
        if warning is not None:
            print(f"warning: {warning}", file=sys.stderr, flush=True)


def _repair_tokenizer(gguf: Path, folder: Path) -> str | None:
    import gguf as gguf_format
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    fields = gguf_format.GGUFReader(gguf).fields
    kind, pre = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre")
    if kind is None or pre is None or kind.contents() != "gpt2":
        return None
    return repair_pre_tokenizer(folder, str(pre.contents()), frozenset(GGUF_PRE_TOKENIZER_SPLITS))


def _write_manifest(folder: Path, gguf: Path, source_sha256: str, progress: Progress) -> None:
    import torch
    import transformers

    files = sorted(file for file in folder.iterdir() if file.is_file())
    hashes: dict[str, dict[str, Any]] = {}
    for index, file in enumerate(files):
        progress("verify", index / len(files))
        hashes[file.name] = {"sha256": hash_file(file), "bytes": file.stat().st_size}
    progress("verify", 1.0)
    manifest = {
        "format": 1,
        "source": {
            "file": gguf.name,
            "sha256": source_sha256,
            "bytes": gguf.stat().st_size,
        },
        "converted_with": {
            "torch": str(torch.__version__),
            "transformers": transformers.__version__,
        },
        "files": hashes,
    }
    text = json.dumps(manifest, indent=2, sort_keys=True)
    (folder / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m inference.engine.convert")
    parser.add_argument("--gguf", type=Path, required=True, help="the GGUF file to read")
    parser.add_argument("--out", type=Path, required=True, help="the folder to create")
    options = parser.parse_args(arguments)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    report = sys.stdout

    def progress(stage: str, fraction: float) -> None:
        print(json.dumps({"stage": stage, "fraction": round(fraction, 4)}), file=report, flush=True)

    try:
        # Libraries print to stdout as they like; the reader of our lines must not see that.
        with contextlib.redirect_stdout(sys.stderr):
            convert_gguf(options.gguf.resolve(), options.out.resolve(), progress)
    except (ConvertError, OSError) as error:
        print(f"error: {_one_line(error)}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Writes tests/fuzz/safetensors and tests/fuzz/idx: small files that are right, to mutate from."""
import gzip
import json
import pathlib
import struct

top = pathlib.Path(__file__).resolve().parent.parent / "fuzz"


def safetensors(name, tensors, metadata=None):
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for key, dtype, shape, raw in tensors:
        place = [len(data), len(data) + len(raw)]
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": place}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode() + b"\n"
    (top / "safetensors" / name).write_bytes(struct.pack("<Q", len(text)) + text + data)


def idx(name, dims, data, pack=False):
    raw = struct.pack(f">HBB{len(dims)}I", 0, 8, len(dims), *dims) + bytes(data)
    (top / "idx" / name).write_bytes(gzip.compress(raw, mtime=0) if pack else raw)


for folder in ("safetensors", "idx"):
    (top / folder).mkdir(parents=True, exist_ok=True)
safetensors("two.safetensors", [("a", "F32", [2, 3], bytes(24)), ("b", "F16", [4], bytes(range(8)))],
            {"format": "pt"})
safetensors("kinds.safetensors", [(d, d, [2], bytes(2 * n)) for d, n in (
    ("F64", 8), ("BF16", 2), ("I64", 8), ("I32", 4), ("I16", 2), ("I8", 1), ("U8", 1), ("BOOL", 1),
    ("U16", 2), ("U32", 4), ("U64", 8))])
safetensors("scalar.safetensors", [("s", "F32", [], bytes(4)), ("e", "F32", [0, 3], b"")])
idx("labels", [20], [i % 10 for i in range(20)])
idx("images", [3, 4, 5], range(60))
idx("labels.gz", [20], [i % 10 for i in range(20)], True)
idx("images.gz", [3, 4, 5], range(60), True)

"""Numbers by counter, the same bits here and in tests/reference_generator.h.

Philox4x32-10 (Salmon et al., SC 2011), key = seed. Element i of a tensor is word i % 4 of the block
whose counter is (i / 4, 0, stream, 0), stream = FNV-1a of the tensor's name; so a value depends on
the seed, the name and the index alone. A word w becomes

    t = (2 floor(w / 256) + 1) / 2^24 - 1          in (-1, 1), 25 bits
    value = f32(offset + half * t)                 half is an f32, so the product is exact in f64

with offset and half from the table SCALES, by the end of the name and the shape. The scales keep
activations of every size of the family near 1 and make every term of every formula matter: GRN,
biases and LayerScale are far from their first values, where they would do nothing.
"""
import numpy as np

SEED = 20230102  # of all committed data

# (ends with, least rank, most rank, offset, half); the first that fits. half 0: sqrt(3 / fan_in).
SCALES = [
    ("image", 4, 4, 0.0, 3.0**0.5),
    ("grn.weight", 1, 1, 0.25, 0.75),
    ("grn.bias", 1, 1, 0.0, 0.5),
    ("gamma", 1, 1, 0.5, 0.375),
    ("running_mean", 1, 1, 0.0, 0.25),
    ("running_var", 1, 1, 1.0, 0.5),
    ("_token", 4, 4, 0.0, 1.0),
    ("se.fc1.bias", 1, 1, 0.75, 0.25),
    ("cbam.fc1.bias", 1, 1, 0.5, 0.5),
    (".bias", 1, 1, 0.0, 0.25),
    (".weight", 1, 1, 1.0, 0.375),
    (".weight", 2, 4, 0.0, 0.0),
]


def stream_of(name):
    """FNV-1a, 32 bits."""
    value = 0x811C9DC5
    for byte in name.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def philox(index, stream, seed):
    """index: uint64 array; returns uint32 (len(index), 4)."""
    low = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    c0, c1 = index & low, index >> shift
    c2, c3 = np.full_like(index, stream), np.zeros_like(index)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (
            (b >> shift) ^ c1 ^ np.uint64(k0),
            b & low,
            (a >> shift) ^ c3 ^ np.uint64(k1),
            a & low,
        )
        k0, k1 = k0 + 0x9E3779B9 & 0xFFFFFFFF, k1 + 0xBB67AE85 & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def words(name, count, seed=SEED):
    """The first `count` words of a stream, in pieces that fit the cache."""
    out = np.empty((count + 3) // 4 * 4, np.uint32)
    step = 1 << 15
    for first in range(0, len(out) // 4, step):
        index = np.arange(first, min(first + step, len(out) // 4), dtype=np.uint64)
        out[4 * first : 4 * first + 4 * len(index)] = philox(index, stream_of(name), seed).ravel()
    return out[:count]


def scale_of(name, shape):
    for end, least, most, offset, half in SCALES:
        if name.endswith(end) and least <= len(shape) <= most:
            fan_in = int(np.prod(shape[1:], dtype=np.int64))
            return offset, np.float32(half if half else np.sqrt(3.0 / fan_in))
    raise ValueError(f"no scale for '{name}' {tuple(shape)}")


def tensor(name, shape, factors=(), seed=SEED):
    """float32 values of a parameter or input; factors: (name ends with, power of two)."""
    offset, half = scale_of(name, shape)
    w = words(name, int(np.prod(shape, dtype=np.int64)), seed)
    t = ((w >> np.uint32(8)).astype(np.float64) * 2 + 1) * 2.0**-24 - 1
    factor = np.float32(np.prod([f for end, f in factors if name.endswith(end)]))
    return (offset + np.float64(half) * t).astype(np.float32).reshape(shape) * factor


def labels(count, classes, seed=SEED):
    return (words("label", count, seed) % np.uint32(classes)).astype(np.int64)


def masks(count, patches, kept, seed=SEED):
    """(count, patches) f32, 1 = removed: the patches with the `kept` smallest words stay."""
    w = words("mask", count * patches, seed).reshape(count, patches)
    out = np.ones((count, patches), np.float32)
    np.put_along_axis(out, np.argsort(w, axis=1, kind="stable")[:, :kept], 0, axis=1)
    return out


PROJECTIONS = 8


def sketch(name, value, seed=SEED):
    """[norm, 8 products with random vectors of -1 and 1]: enough to estimate the norm of a
    difference. Vector k at element i is +1 where bit k of word i of the stream "sketch NAME" is
    set; the mean of squares of the products is the square of the norm, in expectation."""
    flat = np.asarray(value, np.float64).ravel()
    w = words("sketch " + name, flat.size, seed)
    out = [np.sqrt(np.sum(flat * flat))]
    for k in range(PROJECTIONS):
        out.append(np.sum(np.where(w >> np.uint32(k) & np.uint32(1), flat, -flat)))
    return np.array(out, np.float64)

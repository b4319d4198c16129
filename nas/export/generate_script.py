"""The script of a bundle that makes images with numpy and ONNX Runtime alone."""

NEEDS = ("numpy", "onnxruntime")

# What it must know of the network it reads from decoder.onnx, so that it is the same for every one.
SCRIPT = '''\
"""Images of classes as a PNG: python generate.py --class 3 --n 16 --seed 0 --out grid.png."""
import argparse, hashlib, json, pathlib, struct, zlib, numpy as np, onnxruntime
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--class", dest="label", type=int, help="an index; all in turn if absent")
for flag, default in zip("n seed cfg top-k top-p out".split(), (16, 0, 1.5, 0, 0.0, "grid.png")):
    parser.add_argument(f"--{flag}", type=type(default), default=default)
asked = parser.parse_args()
load = lambda name: onnxruntime.InferenceSession(pathlib.Path(__file__).with_name(name),
                                                 providers=["CPUExecutionProvider"])
decoder = load("decoder.onnx")
facts = json.loads(decoder.get_modelmeta().custom_metadata_map["nas:generator"])
sides, layers, classes = facts["patch_nums"], facts["layers"], facts["classes"]
codes, total = facts["vocabulary"], sum(side**2 for side in sides)
if not (0 <= (asked.label or 0) < classes and 0 <= asked.top_k <= codes and 0 <= asked.top_p <= 1
        and 0 <= asked.cfg * facts["guided"] == asked.cfg and asked.n > 0 and asked.seed >= 0):
    parser.error(f"{classes} classes, {codes} codes, guidance: {facts['guided']}")
labels = np.arange(asked.n) % classes if asked.label is None else np.full(asked.n, asked.label)
rows = np.concatenate([labels, np.full_like(labels, classes)][:2 if asked.cfg else 1])
key = int.from_bytes(hashlib.sha256(b"var image").digest()[:8], "big")
seeds = [np.random.SeedSequence([asked.seed, i, key]) for i in range(asked.n)]  # one an image
numbers = np.stack([np.random.default_rng(seed).random(total) for seed in seeds])
softmax = lambda x: (power := np.exp(x - x.max(-1, keepdims=True))) / power.sum(-1, keepdims=True)
def draw(logits, numbers):  # (B, T, V), (B, T) -> (B, T)
    if asked.top_k:
        least = np.sort(logits)[..., codes - asked.top_k, None]
        logits = np.where(logits < least, np.float32(-np.inf), logits)
    if asked.top_p:  # codes go from the least likely on; the likeliest stays
        order = np.argsort(logits, kind="stable")
        sums = softmax(np.take_along_axis(logits, order, -1)).cumsum(-1, dtype=float)
        goes = sums.astype(np.float32) <= np.float32(1 - asked.top_p)
        np.put_along_axis(gone := np.zeros_like(goes), order[..., :-1], goes[..., :-1], -1)
        logits = np.where(gone, np.float32(-np.inf), logits)
    sums = softmax(logits.astype(float)).cumsum(-1)
    return (sums <= numbers[..., None] * sums[..., -1:]).sum(-1)
f_hat, tokens = np.zeros((len(rows), facts["code_dim"], sides[-1], sides[-1]), np.float32), None
for k, side in enumerate(sides):
    feeds = {"labels": rows}
    if k:  # only the layers that this scale runs keep their keys and values
        kept = [layers[k - 1].index(layer) for layer in layers[k]]
        past = [np.ascontiguousarray(part[:, kept]) for part in past]
        feeds |= {"tokens": np.resize(tokens, (len(rows), tokens.shape[1])), "past_f_hat": f_hat,
                  "past_keys": past[0], "past_values": past[1]}
    logits, *latent, keys, values = load(f"scale{k + 1}.onnx").run(None, feeds)
    f_hat = latent[0] if k else f_hat
    past = [np.concatenate(pair) for pair in zip(past, (keys, values))] if k else [keys, values]
    if asked.cfg:
        t, (c, u) = asked.cfg * k / (len(sides) - 1), np.split(logits, 2)
        logits = (1 + t) * c - t * u
    tokens, numbers = draw(logits, numbers[:, :side**2]), numbers[:, side**2:]
images = decoder.run(None, {"tokens": tokens, "past_f_hat": f_hat[:asked.n]})[0]
across, (_, C, H, W) = int(np.ceil(np.sqrt(asked.n))), images.shape
images = np.concatenate([images, np.full((-asked.n % across, C, H, W), -1)])  # whole rows
grid = np.round((images + 1) * 127.5).astype(np.uint8).reshape(-1, across, C, H, W)
grid = grid.transpose(0, 3, 1, 4, 2).reshape(-1, across * W, C)
part = lambda kind, data: (len(data).to_bytes(4, "big") + kind + data
                           + zlib.crc32(kind + data).to_bytes(4, "big"))
head = struct.pack(">IIBBBBB", across * W, len(grid), 8, C - 1, 0, 0, 0)
data = zlib.compress(b"".join(b"\\0" + line.tobytes() for line in grid))
pathlib.Path(asked.out).write_bytes(b"\\x89PNG\\r\\n\\x1a\\n" + part(b"IHDR", head)
                                    + part(b"IDAT", data) + part(b"IEND", b""))
'''

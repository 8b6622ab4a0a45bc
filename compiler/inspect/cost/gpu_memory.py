"""What a task would hold of a GPU's memory, guessed from its words alone: which tasks need a device, and how much of one.

Trainings, syntheses and queries run on the device of their worker; attacks and claims stay on the CPU. What a backward pass keeps
and how many weights there are was counted (autograd's saved tensors, float32, widths 32 and 64); which of it a method holds at
once is simplified, and what a driver and its libraries take is declared. No GPU was at hand to compare with. Good for: whether a
worker needs 2 GB or 20, which is what `synthc run --gpu-memory` asks.
"""

from __future__ import annotations

from compiler.inspect.cost.guess import Words, classes, pixels, private_images

DEVICE_MB = 600.0
"""A context, the kernels of torch and cuDNN's workspaces, whatever the task."""
KEPT = {"small": 14.5, "mlp": 0.5, "convnet": 12.5, "resnet9": 29.0, "resnet18": 69.0, "wrn": 60.0, "unet": 198.0}
"""Bytes that a backward pass needs of the forward pass, for each pixel (channels apart) and unit of width."""
WEIGHTS = {"small": 112, "mlp": 100, "convnet": 24, "resnet9": 486, "resnet18": 2731, "wrn": 676, "unet": 1024}
"""Weights, in units of the squared width, for 3×32×32."""
TRAINED = 4
"""A weight, its gradient, its momentum or moments, its average."""
FORWARD = 0.25
"""Of `KEPT`, where nobody asks for gradients: layers come and go."""
SCORED_TOGETHER, DRAWN_TOGETHER, MOST_IMAGES, MOST_NUMBERS = 256, 512, 256, 2**27
"""What `runtime` takes at once: images that are scored, drawn; images and numbers of per-sample gradients."""
ON_DEVICE = ("train", "synthesize", "query")
"""Kinds of tasks that a worker computes on its GPU, where it has one."""


def vram_mb(operation: str, work: Words) -> float:
    """Expected peak on a GPU, in MB; of what nothing is known, such as a user's own method, the private images alone."""
    name = operation.split()[0]
    held = private_images(work) * pixels(work)   # uint8
    return DEVICE_MB + (held + _WORKING.get(name, _nothing)(work)) / 1e6


def _nothing(work: Words) -> float:
    return 0.0


def _kept(work: Words, net: str, width: float, images: float) -> float:
    """Bytes of a forward pass that a backward pass will need."""
    height, wide = work["private"]["population"]["dataset"]["shape"][1:]
    return KEPT[net] * width * height * wide * images


def _weights(net: str, width: float) -> float:
    return WEIGHTS[net] * width * (width if net != "mlp" else 32)


def _training(work: Words, net: str, width: float, images: float) -> float:
    return _kept(work, net, width, images) + 4 * TRAINED * _weights(net, width)


def _train(work: Words) -> float:
    recipe, privacy = work["recipe"], work.get("privacy")
    net, width = recipe["net"], recipe["width"]
    if not privacy:
        return _training(work, net, width, recipe["batch_size"])
    copies = privacy.get("multiplicity", 1)
    together = max(1.0, min(MOST_IMAGES // copies, MOST_NUMBERS // _weights(net, width), recipe["batch_size"]))
    return _training(work, net, width, together * copies) + 4 * together * _weights(net, width)


def _train_generator(work: Words) -> float:
    how = work["how"]
    if "count" in how:   # experts of trajectory matching, of which every epoch is kept
        return _training(work, "convnet", how["width"], how["batch_size"]) + _experts(how)
    return _training(work, "unet" if how.get("net") == "unet" else "mlp", how.get("width", 32), how.get("batch_size", 256))


def _experts(how: Words) -> float:
    return 4 * how["count"] * (how["epochs"] + 1) * _weights("convnet", how["width"])


def _query(work: Words) -> float:
    recipe = work["recipe"]
    return FORWARD * _kept(work, recipe["net"], recipe["width"], SCORED_TOGETHER) + 4 * _weights(recipe["net"], recipe["width"])


def _synthesize(work: Words) -> float:
    how, recipe = work["how"], work["recipe"]
    learned = classes(work) * how.get("images_per_class", 0)
    match how.get("method"):
        case "dm":
            seen = learned + FORWARD * classes(work) * how["batch_real"]
            return _kept(work, "convnet", how["width"], seen)
        case "dc" | "dsa":   # a gradient of a gradient for learned images, a gradient for private ones; weights of each class apart
            gradients = 3 * 4 * classes(work) * _weights("convnet", how["width"])
            return _kept(work, "convnet", how["width"], 3 * learned + classes(work) * how["batch_real"]) + gradients
        case "mtt" | "datm":
            experts = how["experts"]
            path = 4 * 2 * how["net_steps"] * _weights("convnet", experts["width"])
            return _kept(work, "convnet", experts["width"], 3 * (how["batch"] or learned)) + path + _experts(experts)
        case "sre2l":
            return _kept(work, recipe["net"], recipe["width"], min(learned, SCORED_TOGETHER))
        case "conditional" | "sdedit":
            net = how["denoiser"]
            return FORWARD * _training(work, "unet" if net["net"] == "unet" else "mlp", net["width"], DRAWN_TOGETHER)
    if work["how"].get("paradigm") == "data_free_kd":   # teacher, student and what invents
        both = 2 * _training(work, recipe["net"], recipe["width"], how["batch_size"])
        return both + _training(work, "small", 2 * how.get("width", 0), how["batch_size"])
    if how.get("method") == "grand":
        return _training(work, recipe["net"], recipe["width"], MOST_IMAGES)
    return FORWARD * _kept(work, recipe["net"], recipe["width"], SCORED_TOGETHER)


def _query_generator(work: Words) -> float:
    how = work["how"]
    return FORWARD * _training(work, "unet" if how.get("net") == "unet" else "mlp", how.get("width", 32), DRAWN_TOGETHER)


_WORKING = {
    "TrainClassifier": _train, "TrainGenerator": _train_generator, "Synthesize": _synthesize, "QueryClassifier": _query,
    "QueryGenerator": _query_generator,
}

"""Dataset distillation by matching features or gradients of learned and of private images, class by class.

    DM      mean features of fresh random nets
    DC      gradients of the loss in the weights of a net that is trained on the learned images as they are
    DSA     as DC, under siamese augmentation

Each class has an augmentation of its own. Not here: initialisation (`initial`), matching of trajectories (`trajectory`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from compiler.language.classifier import Recipe
from compiler.language.datasets import Card
from compiler.language.methods.distillation import DistributionMatching, GradientMatching
from runtime.data.images import LabeledImages
from runtime.store import checkpoint
from runtime.store.artifacts import Inputs
from runtime.synthesize.distillation.initial import Learner, finish, initialise, summarise
from runtime.synthesize.release import Release, Setting
from runtime.training import nets, siamese
from runtime.training.gradients import classification_loss, parameters_of, per_sample_gradients


def synthesize(how: DistributionMatching | GradientMatching, private: LabeledImages, needs: Inputs, setting: Setting) -> Release:
    """The release of images learned by DM, DC or DSA; `needs` is not used. SynthcError as of `initialise` and `nets.build`,
    Diverged as of `LearnedImages.release`."""
    return distribution(how, private, setting) if isinstance(how, DistributionMatching) else gradients(how, private, setting)


def distribution(how: DistributionMatching, private: LabeledImages, setting: Setting) -> Release:
    """DM (Zhao and Bilen, WACV 2023): in each of `steps` steps, a new random net and one step of the images.

    loss = sum over classes of || mean f(A_c(private batch)) − mean f(A_c(learned images)) ||², f the net's flat features, A_c the
    random augmentation of class c (the identity without `augment`). Errors as of `synthesize`.
    """
    learner = LearnedImages(how, private, setting)
    net = learner.net.requires_grad_(False)
    for step in (steps := checkpoint.loop(how.method, how.steps, **learner.parts)):
        if step:
            nets.reset(net, learner.fresh)
        real, learned = learner.batches(siamese_maps=how.augment)
        with torch.no_grad():
            target = class_means(net, real)
        loss = (target - class_means(net, learned)).square().sum()
        learner.step(loss)
        steps.log(loss)
    return learner.release(steps.losses)


def gradients(how: GradientMatching, private: LabeledImages, setting: Setting) -> Release:
    """DC and DSA (Zhao et al. 2021; Zhao and Bilen 2021): gradients are matched along the training of each of `nets` new nets.

    At each of `points` points of that training, the images take one step on the sum over classes of D(private gradient, learned
    gradient), then, but for the last point, the net takes `net_steps` steps, each on all learned images. Gradients of private
    batches are constants. Errors as of `synthesize`.
    """
    learner = LearnedImages(how, private, setting)
    net, augment = learner.net, how.method == "dsa"
    for restart in (restarts := checkpoint.loop(how.method, how.nets, **learner.parts)):
        if restart:
            nets.reset(net, learner.fresh)
        trainer = torch.optim.SGD(net.parameters(), lr=how.net_lr, momentum=0.5)
        for point in range(how.points):
            real, learned = learner.batches(siamese_maps=augment)
            with torch.no_grad():
                target = class_gradients(net, real, learner.labels)
            loss = gradient_distance(target, class_gradients(net, learned, learner.labels))
            learner.step(loss)
            restarts.log(loss)
            for _ in range(how.net_steps if point + 1 < how.points else 0):
                x, y = learner.training_batch(mapped=augment)
                trainer.zero_grad()
                F.cross_entropy(net(x), y).backward()
                trainer.step()
    return learner.release(restarts.losses)


class LearnedImages(Learner):
    """Learned images with private batches, a net, and a random stream for each kind of draw."""

    def __init__(self, how: DistributionMatching | GradientMatching, private: LabeledImages, setting: Setting) -> None:
        super().__init__(how, initialise(how, private, setting), setting)
        self.how = how
        self.labels = torch.tensor(self.start.classes, device=self.device)
        """The classes, one for each block of learned images."""
        self.fresh, draws = setting.seeds(f"{how.method}/nets"), setting.seeds(f"{how.method}/real batches")
        self.real = ClassBatches(private, self.start.classes, how.batch_real, self.card, draws, self.device)
        self.net = nets.build(matching_net(how.width, how.depth, self.card), self.card, self.fresh).to(self.device)

    @property
    def parts(self) -> checkpoint.Parts:
        """Name → state to save between one net and the next: the learned images, their optimiser, and the random streams."""
        draws = {"fresh": self.fresh, "moves": self.moves, "real": self.real.generator}
        return {"pixels": self.pixels, "optimizer": self.optimizer, **draws}

    def batches(self, *, siamese_maps: bool) -> tuple[Tensor, Tensor]:
        """A new private batch and all learned images (differentiable), each class × image × c × h × w, normalised; with
        `siamese_maps`, both of a class under the same random augmentation."""
        real, learned = self.real.draw(), self.pixels.unflatten(0, (len(self.labels), -1))
        if not siamese_maps:
            return real, learned
        maps = siamese.sample(len(self.labels), self.card, self.moves).to(self.device)
        return siamese.transform_blocks(real, maps, self.black), siamese.transform_blocks(learned, maps, self.black)

    def training_batch(self, *, mapped: bool) -> tuple[Tensor, Tensor]:
        """All learned images (n × c × h × w, normalised) as constants, and their labels (n); if `mapped`, each image under an
        augmentation of its own."""
        x = self.pixels.detach()
        if mapped:
            x = siamese.augment(x, self.card, self.moves, self.black)
        return x, self.labels.repeat_interleave(self.start.per_class)

    def step(self, loss: Tensor) -> None:
        """One step of the optimizer of the learned images down the loss, a scalar; no gradient in the net's weights is computed."""
        (self.pixels.grad,) = torch.autograd.grad(loss, [self.pixels])
        self.optimizer.step()

    def release(self, losses: Sequence[Tensor]) -> Release:
        """The release of the learned images, in grey levels; Diverged as of `summarise` and `finish`."""
        notes = summarise(losses, self.how.method, f"lower lr ({self.how.lr:g})")
        return finish(self.start, self.pixels, self.card, notes=notes)


class ClassBatches:
    """Draws `size` private images of each of `classes`, which all must have some: distinct ones within a draw, repeated only where
    a class has fewer."""

    def __init__(
        self,
        private: LabeledImages,
        classes: tuple[int, ...],
        size: int,
        card: Card,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self.images = nets.normalise(private.images.to(device), card)
        self.rows = [(private.labels == label).nonzero()[:, 0] for label in classes]
        self.size, self.generator = size, generator

    def draw(self) -> Tensor:
        """class × size × c × h × w, normalised: random private images of each class, drawn independently in each call."""
        rows = torch.stack([of_class[self._order(len(of_class))] for of_class in self.rows])
        return self.images[rows.to(self.images.device)]

    def _order(self, n: int) -> Tensor:
        passes = [torch.randperm(n, generator=self.generator) for _ in range(math.ceil(self.size / n))]
        return torch.cat(passes)[: self.size]


def matching_net(width: int, depth: int | None, card: Card) -> Recipe:
    """The recipe of the ConvNet with instance norm that is usual in distillation. `depth` None: three blocks, or as many (at least
    one) as leave feature maps of at least 2×2."""
    most = max(1, int(math.log2(min(card.shape[1:]))) - 1)
    return Recipe(net="convnet", width=width, depth=depth or min(3, most), norm="instance")


def class_means(net: nets.Classifier, images: Tensor) -> Tensor:
    """class × feature: mean feature of each class. images: class × image × c × h × w."""
    return net.features(images.flatten(0, 1)).unflatten(0, images.shape[:2]).mean(1)


def class_gradients(net: nets.Classifier, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Name of a parameter → class × its shape: gradient of each class's mean cross entropy. Differentiable in the images, not in
    the weights. images: class × image × c × h × w; labels: class, the label of each block.

    All classes in one vectorised pass: at 8×8 and width 16 that takes 27 ms where a loop over ten classes takes 46 (one core).
    """
    return per_sample_gradients(classification_loss(net), parameters_of(net), images, labels)[0]


def gradient_distance(target: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Tensor:
    """Sum over classes, layers and output rows of (1 − cosine) of two gradients, a scalar; biases and norms, whose rows are
    scalars, are left out.

    Zhao et al. 2021, section 3.4. Both are name of a parameter → class × its shape, of the same net.
    """
    rows = [
        1 - F.cosine_similarity(target[name].flatten(2), found[name].flatten(2), dim=2, eps=1e-6)
        for name in found
        if found[name].dim() > 2
    ]
    return torch.cat([row.flatten() for row in rows]).sum()

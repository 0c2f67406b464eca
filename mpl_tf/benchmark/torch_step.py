"""PyTorch's side of `--what=torch`: Wide ResNet and the exact step of Meta Pseudo Labels, twice.

No other module imports PyTorch, and this one none of ours: arrays come in and go out. The code is what
PyTorch's documentation has for such a step: `create_graph=True` and torch.func's `functional_call`, or
`torch.func.jvp`; eager, with torch.optim's SGD. Images lie as [B, C, H, W] with the channels last in
memory, as they do in TensorFlow.
"""

import sys
import warnings

# Triton compiles for GPUs. It and TensorFlow 2.21 each bring an LLVM, and a process with both dies, so
# PyTorch, which looks for it at the first optimizer, is not to find it.
sys.modules.setdefault("triton", None)

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.func import functional_call, jvp  # noqa: E402
from torch.nn import functional  # noqa: E402


class BatchNorm(nn.BatchNorm2d):
    """Batch norm by the batch's statistics, whose averages move in some passes and not in others."""

    def forward(self, x, moving):
        averages = (self.running_mean, self.running_var) if moving else (None, None)
        return functional.batch_norm(x, *averages, self.weight, self.bias, True, self.momentum, self.eps)


class Conv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow pads by "same"."""

    def __init__(self, channels, filters, size, stride=1):
        super().__init__(channels, filters, size, stride, size // 2 if stride == 1 else 0, bias=False)

    def forward(self, x):
        size, stride = self.kernel_size[0], self.stride[0]
        if stride > 1 and size > 1:     # the odd pixel lies behind, which padding= cannot say
            more = [max((-(-side // stride) - 1) * stride + size - side, 0) for side in x.shape[2:]]
            x = functional.pad(x, [more[1] // 2, more[1] - more[1] // 2,
                                   more[0] // 2, more[0] - more[0] // 2])
        return super().forward(x)


class WideResNet(nn.Module):
    """mpl_tf.networks.wide_resnet, layer by layer under the same names, without dropout.

    Args:
      depth, width, num_classes: as there. decay, epsilon: those of batch norm.
    """

    def __init__(self, depth, width, num_classes, decay, epsilon):
        super().__init__()
        batch_norm = lambda channels: BatchNorm(channels, eps=epsilon, momentum=1 - decay)
        self.stem, self.blocks, channels = Conv(3, 16, 3), [], 16
        for group, filters in enumerate((16 * width, 32 * width, 64 * width), start=1):
            for block in range(1, (depth - 4) // 6 + 1):
                name, stride = f"group{group}_block{block}", 2 if group > 1 and block == 1 else 1
                self.add_module(f"{name}_1_bn", batch_norm(channels))
                if channels != filters:
                    self.add_module(f"{name}_shortcut", Conv(channels, filters, 1, stride))
                self.add_module(f"{name}_conv1", Conv(channels, filters, 3, stride))
                self.add_module(f"{name}_2_bn", batch_norm(filters))
                self.add_module(f"{name}_conv2", Conv(filters, filters, 3))
                self.blocks.append((name, channels != filters))
                channels = filters
        self.head_bn, self.logits = batch_norm(channels), nn.Linear(channels, num_classes)

    def forward(self, images, moving=True):
        """Logits [B, K] in training mode; `moving`: whether the averages of batch norm move."""
        x = self.stem(images)
        for name, shortcut in self.blocks:
            layer = lambda end: getattr(self, f"{name}_{end}")
            activated = functional.relu(layer("1_bn")(x, moving))
            x = layer("shortcut")(activated) if shortcut else x
            y = layer("conv1")(activated)
            x = x + layer("conv2")(functional.relu(layer("2_bn")(y, moving)))
        return self.logits(functional.relu(self.head_bn(x, moving)).mean([2, 3]))


class Learner:
    """A network with its optimizer, SGD with Nesterov's momentum and weight decay on all matrices.

    Args:
      network: a WideResNet. weights: {name: array}, all that it has to hold, whose type it gets.
      rate, momentum, weight_decay: of the optimizer.
    """

    def __init__(self, network, weights, rate, momentum, weight_decay):
        given = {name: torch.tensor(value) for name, value in weights.items()}
        self.network = network.to(given["logits.weight"].dtype, memory_format=torch.channels_last)
        network.load_state_dict({**{name: value for name, value in network.state_dict().items()
                                    if name.endswith(".num_batches_tracked")}, **given})
        self.weights = dict(network.named_parameters())
        decayed = [weight for weight in self.weights.values() if weight.dim() > 1]
        others = [weight for weight in self.weights.values() if weight.dim() == 1]
        self.optimizer = torch.optim.SGD(
            [{"params": decayed, "weight_decay": weight_decay}, {"params": others}], rate,
            momentum=momentum, nesterov=True)
        self.rate, self.momentum, self.weight_decay = rate, momentum, weight_decay

    def apply(self, gradients):
        """Takes the optimizer's step."""
        for weight, gradient in zip(self.weights.values(), gradients):
            weight.grad = gradient.detach()
        self.optimizer.step()

    def updated(self, gradients):
        """{name: weight after such a step}, differentiable in the gradients."""
        found = {}
        for (name, weight), gradient in zip(self.weights.items(), gradients):
            held, weight = self.optimizer.state[weight].get("momentum_buffer"), weight.detach()
            gradient = gradient + self.weight_decay * weight if weight.dim() > 1 else gradient
            buffer = gradient if held is None else self.momentum * held + gradient
            found[name] = weight - self.rate * (gradient + self.momentum * buffer)
        return found

    def learn(self, batch):
        """A step of supervised training."""
        self.optimizer.zero_grad()
        functional.cross_entropy(self.network(batch["labeled"]), batch["label"]).backward()
        self.optimizer.step()

    def arrays(self):
        """({name: trainable weight}, {name: the optimizer's momentum}), as arrays."""
        return ({name: weight.detach().numpy() for name, weight in self.weights.items()},
                {name: self.optimizer.state[weight]["momentum_buffer"].numpy()
                 for name, weight in self.weights.items()})


class MetaPseudoLabels:
    """The exact step with the supervised objective.

    Args:
      student, teacher: Learners.
    """

    def __init__(self, student, teacher):
        self.student, self.teacher, self.meta_weight = student, teacher, 1.0

    def by_create_graph(self, batch):
        """A step by going backward through the student's backward pass."""
        objective, loss, gradients = self._unrolled(batch)
        of_teacher = torch.autograd.grad(
            objective + self.meta_weight * loss, list(self.teacher.weights.values()))
        self.student.apply(gradients)
        self.teacher.apply(of_teacher)

    def by_jvp(self, batch):
        """A step by a forward-mode pass of the student along w, at the weights from before its update.

        Unlike ours it keeps the teacher's activations until the end, which saves a pass and not memory.
        """
        student, teacher = self.student, self.teacher
        labels = functional.softmax(teacher.network(batch["unlabeled"], moving=False), 1)
        loss = _cross_entropy(labels.detach(), student.network(batch["unlabeled"]))
        gradients = torch.autograd.grad(loss, list(student.weights.values()))
        old = [weight.detach().clone() for weight in student.weights.values()]
        student.apply(gradients)
        loss = functional.cross_entropy(student.network(batch["labeled"], moving=False), batch["label"])
        w = [-student.rate * (1 + student.momentum) * v
             for v in torch.autograd.grad(loss, list(student.weights.values()))]

        def log_probs(*weights):
            return functional.log_softmax(functional_call(
                student.network, dict(zip(student.weights, weights)), (batch["unlabeled"],),
                {"moving": False}), 1)

        _, tangent = jvp(log_probs, tuple(old), tuple(w))
        of_labels = -tangent / len(tangent)
        objective = functional.cross_entropy(teacher.network(batch["labeled"]), batch["label"])
        teacher.apply(torch.autograd.grad(
            [objective, labels], list(teacher.weights.values()),
            [torch.ones_like(objective), self.meta_weight * of_labels]))

    def balance(self, batch):
        """The meta weight by which the meta gradient is as long as the objective's; nothing moves."""
        norms = [torch.cat([part.flatten() for part in torch.autograd.grad(
            loss, list(self.teacher.weights.values()))]).norm()
            for loss in self._unrolled(batch, moving=False)[:2]]
        return float(norms[0] / norms[1])

    def _unrolled(self, batch, moving=True):
        """(the teacher's objective, R at the updated student, the student's gradients), with graphs."""
        student, teacher = self.student, self.teacher
        labels = functional.softmax(teacher.network(batch["unlabeled"], moving=False), 1)
        gradients = torch.autograd.grad(
            _cross_entropy(labels, student.network(batch["unlabeled"], moving)),
            list(student.weights.values()), create_graph=True)
        logits = functional_call(student.network, student.updated(gradients), (batch["labeled"],),
                                 {"moving": False})
        objective = functional.cross_entropy(teacher.network(batch["labeled"], moving), batch["label"])
        return objective, functional.cross_entropy(logits, batch["label"]), gradients


def _cross_entropy(labels, logits):
    return -(labels * functional.log_softmax(logits, 1)).sum(1).mean()


def batch_of(labeled, label, unlabeled):
    """A batch from arrays [B, H, W, 3] and [B]; the images keep their place in memory."""
    images = lambda array: torch.tensor(array).permute(0, 3, 1, 2)
    return {"labeled": images(labeled), "label": torch.tensor(label).long(),
            "unlabeled": images(unlabeled)}


def set_threads(count):
    """Has operations computed by `count` threads; returns PyTorch's version."""
    # What jvp imports at its first call says of PyTorch itself, and that a machine has no GPU.
    warnings.filterwarnings("ignore", ".*torch.jit.script", FutureWarning)
    warnings.filterwarnings("ignore", "CUDA initialization", UserWarning)
    torch.set_num_threads(count)
    return torch.__version__

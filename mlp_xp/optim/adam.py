"""Adam and its kin: steps scaled by running moments of the gradient."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, takewhile
from math import sqrt
from operator import mul
from typing import Any, ClassVar

from mlp_xp.schedules import Value

from .optimizer import POSITIVE, Array, FirstOrder, Slots


@dataclass(frozen=True, repr=False)
class Moments(FirstOrder):
    """m <- b1 m + (1 - b1) g   and   v <- b2 v + (1 - b2) g^2,   both zero at first.

    b1 and b2 are `beta1` and `beta2`, the two `betas` of PyTorch.

    Corrected for that start, in step t = 1, 2, ... they are   M = m / (1 - b1^t)   and   V = v / (1 - b2^t).
    The rules divide by sqrt(v) + eps sqrt(1 - b2^t), which is sqrt(V) + eps times a number that joins the step size.
    """

    lr: Value = 1e-3
    beta1: Value = 0.9
    beta2: Value = 0.999
    eps: Value = 1e-8
    ranges: ClassVar[dict[str, tuple[float, float]]] = FirstOrder.ranges | {
        "beta1": (0.0, 1.0),
        "beta2": (0.0, 1.0),
        "eps": POSITIVE,
    }

    @property
    def slot_names(self) -> tuple[str, ...]:
        return "m", "v"

    def moments(self, t: int) -> tuple[float, float, float, float]:
        """1 - b1,   1 - b2,   1 - b1^t   and   sqrt(1 - b2^t)   for step t + 1."""
        beta1, beta2 = self.number("beta1", t), self.number("beta2", t)
        return 1 - beta1, 1 - beta2, 1 - beta1 ** (t + 1), sqrt(1 - beta2 ** (t + 1))


@dataclass(frozen=True, repr=False)
class Adam(Moments):
    """p <- p - lr M / (sqrt(V) + eps)   (Kingma and Ba, 2015; eps stands outside the root, as in torch.optim.Adam).

    With amsgrad, the largest v so far takes the place of v in the step (Reddi et al., 2018). PyTorch's
    betas=(0.9, 0.999) is beta1=0.9, beta2=0.999 here.

    With epsilon_hat, eps is added to the root of v before its correction (the end of the paper's section 2; so do
    TensorFlow and scikit-learn):   p <- p - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)
    """

    amsgrad: bool = False
    epsilon_hat: bool = False

    @property
    def slot_names(self) -> tuple[str, ...]:
        return ("m", "v", "v_max") if self.amsgrad else ("m", "v")

    @property
    def rule(self) -> Callable[..., tuple[Array, Slots]]:
        return amsgrad if self.amsgrad else adam

    def numbers(self, t: int) -> tuple[float, ...]:
        a1, a2, correction1, correction2 = self.moments(t)
        eps = self.number("eps", t) * (1.0 if self.epsilon_hat else correction2)
        return self.learning_rate(t) * correction2 / correction1, a1, a2, eps


def adam(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    step, a1, a2, eps = numbers
    m, v = slots
    m = m + a1 * (g - m)
    v = v + a2 * (g * g - v)
    return p - step * m / (xp.sqrt(v) + eps), (m, v)


def amsgrad(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    step, a1, a2, eps = numbers
    m, v, v_max = slots
    m = m + a1 * (g - m)
    v = v + a2 * (g * g - v)
    v_max = xp.maximum(v_max, v)
    return p - step * m / (xp.sqrt(v_max) + eps), (m, v, v_max)


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019):   p <- p - lr wd p,   then Adam's step."""

    weight_decay: Value = field(default=0.01, kw_only=True)
    decoupled: bool = field(default=True, kw_only=True)


@dataclass(frozen=True, repr=False)
class Adamax(Moments):
    """u <- max(b2 u, |g| + eps),   p <- p - lr M / u:   Adam in the maximum norm (Kingma and Ba, 2015, section 7.1)."""

    lr: Value = 2e-3

    @property
    def slot_names(self) -> tuple[str, ...]:
        return "m", "u"

    @property
    def rule(self) -> Callable[..., tuple[Array, Slots]]:
        return adamax

    def numbers(self, t: int) -> tuple[float, ...]:
        a1, _, correction1, _ = self.moments(t)
        return self.learning_rate(t) / correction1, a1, self.number("beta2", t), self.number("eps", t)


def adamax(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    step, a1, beta2, eps = numbers
    m, u = slots
    m = m + a1 * (g - m)
    u = xp.maximum(beta2 * u, xp.abs(g) + eps)
    return p - step * m / u, (m, u)


@dataclass(frozen=True, repr=False)
class NAdam(Moments):
    """Adam with Nesterov's momentum (Dozat, 2016, as torch.optim.NAdam):

    p <- p - lr ((1 - mu_t) g / (1 - mu_1 ... mu_t) + mu_(t+1) m / (1 - mu_1 ... mu_(t+1))) / (sqrt(V) + eps)
    mu_t = b1 (1 - 0.96^(t momentum_decay) / 2)
    """

    lr: Value = 2e-3
    momentum_decay: Value = 4e-3
    ranges: ClassVar[dict[str, tuple[float, float]]] = Moments.ranges | {"momentum_decay": FirstOrder.ranges["lr"]}

    @property
    def rule(self) -> Callable[..., tuple[Array, Slots]]:
        return nadam

    def numbers(self, t: int) -> tuple[float, ...]:
        a1, a2, _, correction2 = self.moments(t)
        products = momentum_products(self, 1 << t.bit_length())  # of a power of two, so that few are made
        product = products[t] if t < len(products) else 0.0
        step = self.learning_rate(t) * correction2
        of_g = step * (1 - self.mu(t)) / (1 - product)
        of_m = step * self.mu(t, ahead=1) / (1 - product * self.mu(t, ahead=1))
        return of_g, of_m, a1, a2, self.number("eps", t) * correction2

    def mu(self, t: int, ahead: int = 0) -> float:
        power = (t + 1 + ahead) * self.number("momentum_decay", t)
        return self.number("beta1", t) * (1 - 0.5 * 0.96**power)


@lru_cache(maxsize=64)
def momentum_products(optimizer: NAdam, steps: int) -> tuple[float, ...]:
    """mu_1,   mu_1 mu_2,   ...   for so many steps, or as long as 1 - product is not 1."""
    return tuple(takewhile(lambda product: product > 1e-17, accumulate(map(optimizer.mu, range(steps)), mul)))


def nadam(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    of_g, of_m, a1, a2, eps = numbers
    m, v = slots
    m = m + a1 * (g - m)
    v = v + a2 * (g * g - v)
    return p - (of_g * g + of_m * m) / (xp.sqrt(v) + eps), (m, v)


@dataclass(frozen=True, repr=False)
class RAdam(Moments):
    """Adam that trusts V only as far as it has seen enough (Liu et al., 2020, as torch.optim.RAdam).

    p <- p - lr r M sqrt(1 - b2^t) / (sqrt(v) + eps)   where rho_t > 5,   else   p <- p - lr M

    r^2 = (rho_t - 4) (rho_t - 2) rho / ((rho - 4) (rho - 2) rho_t)
    rho_t = rho - 2 t b2^t / (1 - b2^t),   rho = 2 / (1 - b2) - 1
    """

    @property
    def rule(self) -> Callable[..., tuple[Array, Slots]]:
        return radam

    def numbers(self, t: int) -> tuple[float, ...]:
        a1, a2, correction1, correction2 = self.moments(t)
        step, eps = self.learning_rate(t) / correction1, self.number("eps", t)
        limit = 2 / a2 - 1
        rho = limit - 2 * (t + 1) * (1 - a2) ** (t + 1) / correction2**2
        if rho <= 5:
            return step, 0.0, a1, a2, eps
        rectified = sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho))
        return 0.0, step * correction2 * rectified, a1, a2, eps


def radam(xp: Any, p: Array, g: Array, slots: Slots, numbers: Any) -> tuple[Array, Slots]:
    plain, adaptive, a1, a2, eps = numbers  # one of the first two is zero
    m, v = slots
    m = m + a1 * (g - m)
    v = v + a2 * (g * g - v)
    return p - plain * m - adaptive * m / (xp.sqrt(v) + eps), (m, v)

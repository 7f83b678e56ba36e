"""Products of a vector with the curvature of the support loss: of its Gauss–Newton matrix, or of its Hessian."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, vjp

from metarun.core.tasks import AnyExamples
from metarun.models.base import Parameters, TaskModel

Product = Callable[[Parameters], Parameters]


def gauss_newton(model: TaskModel, theta: Parameters, support: AnyExamples) -> Product:
    """v ↦ Jᵀ H J v, with J the Jacobian of the network's outputs by θ, and H the Hessian of the loss by the outputs, or
    its expectation where the loss is not convex in them (`TaskKind.curvature`).

    Schraudolph 2002, "Fast curvature matrix-vector products for second-order gradient descent". It is positive
    semidefinite, and equals the Hessian where the outputs are linear in θ and the loss is convex in them, as
    cross-entropy and squared error are. Statistics of normalization are part of the function that is
    differentiated.
    """

    def outputs(theta: Parameters) -> Tensor:
        return model.support_outputs(theta, support)

    def pulled(slope: Tensor) -> Parameters:
        """Jᵀ slope."""
        moved: Parameters = vjp(outputs, theta)[1](slope)[0]
        return moved

    at, back, *_ = vjp(outputs, theta)
    # J v is the derivative of u ↦ Jᵀu, which is linear, times v: reverse mode alone, which compilers and batching know.
    _, push, *_ = vjp(pulled, torch.zeros_like(at))
    bend = model.kind.curvature(at, support.y, support.mask)

    def product(vector: Parameters) -> Parameters:
        done: Parameters = back(bend(push(vector)[0]))[0]
        return done

    return product


def hessian(model: TaskModel, theta: Parameters, support: AnyExamples) -> Product:
    """v ↦ ∇²L_S v, which is indefinite for most networks."""

    def slope(theta: Parameters) -> Parameters:
        return grad(lambda moving: model.support_loss(moving, {}, {}, support)[0])(theta)

    _, back, *_ = vjp(slope, theta)

    def product(vector: Parameters) -> Parameters:
        done: Parameters = back(vector)[0]  # a Hessian is symmetric: to pull back is to multiply
        return done

    return product

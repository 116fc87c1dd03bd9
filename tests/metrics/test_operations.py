"""Counted operations against counting by hand."""

import torch
from torch import nn

from course_lib.metrics import count_operations


def test_a_convolution_and_its_two_backward_passes():
    layer = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    images = torch.zeros(2, 3, 10, 12)
    forward = 2 * (2 * 8 * 10 * 12) * (3 * 3 * 3)
    assert count_operations(lambda: layer(images)) == forward
    with torch.inference_mode():
        assert count_operations(lambda: layer(images)) == forward
    # The input has no gradient, so backwards there is the weights' product alone.
    assert count_operations(lambda: layer(images).sum().backward()) == 2 * forward
    images.requires_grad_()
    assert count_operations(lambda: layer(images).sum().backward()) == 3 * forward


def test_a_matrix_product_and_what_costs_next_to_nothing():
    a, b = torch.zeros(4, 5), torch.zeros(5, 6)
    assert count_operations(lambda: a @ b) == 2 * 4 * 5 * 6
    assert count_operations(lambda: torch.relu(a) + 1) == 0


def test_a_gradient_within_a_loss():
    """As in a gradient penalty: forward, gradient by the input, and both backwards again."""
    layer = nn.Linear(5, 1, bias=False)
    x = torch.ones(7, 5, requires_grad=True)

    def penalty():
        (gradient,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
        gradient.square().sum().backward()

    assert count_operations(penalty) == 2 * 7 * 5 + 2 * 7 * 5 + 2 * 7 * 5
    assert layer.weight.grad is not None

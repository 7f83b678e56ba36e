"""When a device is done."""

import torch


def wait(device: torch.device) -> None:
    """Until all that was given to the device is computed."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

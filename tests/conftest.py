import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small networks run faster on one thread than they hand work over."""
    torch.set_num_threads(1)

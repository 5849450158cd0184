import logging

import pytest


@pytest.fixture(autouse=True)
def quiet():
    """Thousands of simulated crashes log what they should."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)

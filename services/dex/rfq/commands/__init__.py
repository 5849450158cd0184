"""The handlers: plain synchronous functions over tables."""

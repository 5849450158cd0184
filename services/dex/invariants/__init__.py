"""What must be true of every event of a book: checked here before commit, and by every replica again.

Together with the wallet's: an order is funded while it is open; what was filled was paid, by both sides, at the maker's
price and within both limits, in the market's assets; nothing of an order is lost or filled twice; nobody trades with
themselves; who comes is placed behind who is there. A node writes of its own markets only: an order of its own in
another's book would stand in everybody's way there.

What they can't tell: whether a better maker, which the event does not change, was there, who of one event came first,
whom an order is said to belong to, and what a taker's fee should be.
"""

"""Every stable code that the router raises, or gives as the reason why a lane can't be used, with its title."""

__all__ = ("PROBLEMS",)

PROBLEMS = {
    "bad_pair": "The assets are not a pair",
    "no_market": "This node has no market of this pair",
    "no_pool": "This node has no pool of this pair",
    "no_quote": "No quote to the account's requests can be accepted for so much",
    "no_route": "No lane can be used",
    "one_lane_is_best": "Parting the amount gives no more",
    "too_thin": "The book can't take all of it",
    "unknown_route": "The route is not known here",
}

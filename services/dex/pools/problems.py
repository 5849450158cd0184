"""Every stable code that pools raise, with its title."""

__all__ = ("PROBLEMS",)

PROBLEMS = {
    "amount_too_small": "The amount is too small to give anything",
    "bad_pool": "The pool is not one",
    "below_minimum": "Less than the least that was asked for",
    "deadline_passed": "The deadline has passed",
    "not_in_pool": "The asset is not in the pool",
    "pool_empty": "Nothing is in the pool yet",
    "pool_exists": "The pool exists",
    "pool_full": "The pool can't take that much",
    "pool_halted": "The pool is halted",
    "unknown_pool": "The pool is not known here",
}

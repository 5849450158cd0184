"""Every stable code that the exchange raises, with its title."""

__all__ = ("PROBLEMS",)

PROBLEMS = {
    "bad_client_id": "The client's id of the order is not one",
    "bad_expiry": "The expiry is not one",
    "bad_group": "The group is not one",
    "bad_market": "The market is not one",
    "bad_mode": "The mode is not one",
    "bad_notional": "Price times quantity is too little or too much",
    "bad_prevention": "The self-trade prevention is not one",
    "bad_quantity": "The quantity is not one",
    "bad_side": "The side is not one",
    "bad_stop": "The stop price is not one",
    "bad_time_in_force": "The time in force does not fit",
    "client_id_taken": "An open order has this name",
    "market_exists": "The market exists",
    "market_halted": "The market is halted",
    "market_restricted": "The market takes limit orders only",
    "no_reference": "There is no price to go by yet",
    "not_filled_whole": "The book can't fill all of it",
    "off_lot": "The quantity is between two lots",
    "off_tick": "The price is between two ticks",
    "price_out_of_band": "The price is too far off",
    "too_many_orders": "Too many open orders",
    "unknown_market": "The market is not known here",
    "unknown_order": "The order is not known here",
    "would_take": "The order would have been filled at once",
}

"""The exchange: order books, requests for quotes, pools, and a router over them."""

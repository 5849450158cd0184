"""The wallet: assets, accounts, escrowed shares, transfers. ``README.md`` in this folder says what it promises."""

"""The router: the best of all lanes for one exact input."""

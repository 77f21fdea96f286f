"""The control plane's truth: tables, transactions, revisions and what the nodes may see of them."""

from arcgate.control.store.database import Store, Transaction, open_store

__all__ = ["Store", "Transaction", "open_store"]

"""Readers of one API dialect each: from an exchange to the objects that the dialect speaks of."""

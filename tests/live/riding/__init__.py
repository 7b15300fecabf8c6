"""Clients that keep writing while something breaks: the published examples, with a loop around them."""

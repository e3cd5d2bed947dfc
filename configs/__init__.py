"""Recipes, errors, and file utilities. Imports none of the other packages."""

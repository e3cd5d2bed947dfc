"""The ground floor: recipe, errors, files. Imports nothing of the other packages."""

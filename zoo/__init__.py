"""Small worlds that ship with the package, so that everything runs offline."""

"""What is built on the route of the data: serving, exports, evaluation, optimisation and the small verbs."""

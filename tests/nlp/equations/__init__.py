"""ACA and UMT written out in numpy, from the equations and not from our code, over weights by the reference's names."""

"""The models written out in numpy, from the equations and not from our code; ACA and UMT by the reference's names."""

"""`make bench`: what an event costs in Mediana, and in the frameworks one would otherwise write it with."""

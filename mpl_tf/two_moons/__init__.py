"""The experiment of the two moons: Figures 1 and 8, and a study over many draws of the data."""

"""The two moons: Figures 1 and 8, and a study over many draws."""

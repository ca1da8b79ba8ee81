"""What an image needs of the machine that runs it: read from a few of its files, and held against the clusters that a site describes."""

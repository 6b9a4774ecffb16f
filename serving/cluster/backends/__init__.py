"""The ways in which an installation moves traffic, behind one port."""

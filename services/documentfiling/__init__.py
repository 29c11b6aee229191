"""Document filing: what is signed moves from the incoming to the completed folder."""

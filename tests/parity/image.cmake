bifocal_probe(image LINKS bifocal_vision bifocal_core)

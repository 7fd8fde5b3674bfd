bifocal_probe(fusion LINKS bifocal_fusion)

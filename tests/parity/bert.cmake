bifocal_probe(bert LINKS bifocal_text)

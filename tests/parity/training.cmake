bifocal_probe(training LINKS bifocal_training)

"""What every part shares: values, schemas, errors, hashes, artifacts and the registry of plug-ins."""

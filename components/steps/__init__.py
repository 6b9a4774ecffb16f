"""What every doorway needs: places, keys, failures that finish the sentence."""

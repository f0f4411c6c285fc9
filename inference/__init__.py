"""From texts to pictures: prompts, conditions, the pipeline, editing and writing files."""

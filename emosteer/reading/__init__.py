"""Reading emotion in text, and explaining what a tone changed."""

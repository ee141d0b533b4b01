"""The explorer as a Space: nobody has a key, so no folder can be opened."""
from fpnas_timm.app import create_app

app = create_app()

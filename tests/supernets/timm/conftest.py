import pytest
from timm_models import MODELS, make_model, make_supernet


@pytest.fixture(scope="session", params=MODELS)
def named(request):
    """(name, model, supernet) of each model; nobody may change them."""
    model = make_model(request.param)
    return request.param, model, make_supernet(model, request.param)
